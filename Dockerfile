# The command consistency-tta with the bundled models:
#   docker build -t consistency-tta .                             for CPUs
#   docker build -t consistency-tta --build-arg TORCH=cu128 .     for NVIDIA GPUs; run it with --gpus all
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work consistency-tta generate "A dog barks" --model tiny-student
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# Of PyTorch's index: cpu, cu126, cu128 ...; wheels for CUDA bring its libraries along.
ARG TORCH=cpu
# Of pyproject.toml, with commas between them.
ARG EXTRAS=report,tensorboard
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /src
# First, so that a change of the sources does not install torch again.
COPY constraints.txt .
RUN pip install --extra-index-url "https://download.pytorch.org/whl/${TORCH}" "$(grep '^torch==' constraints.txt)+${TORCH}"
COPY . .
RUN pip install -c constraints.txt ".[${EXTRAS}]"

# Any user may run it: caches are where everyone can write.
ENV HOME=/tmp HF_HOME=/tmp/huggingface
WORKDIR /work
USER 1000
ENTRYPOINT ["consistency-tta"]
CMD ["--help"]
