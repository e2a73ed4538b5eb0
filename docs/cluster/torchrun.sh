#!/bin/bash
# Without a scheduler: the same command on each of the machines, with the first one's name in HEAD.
#   HEAD=node1 NODES=4 docs/cluster/torchrun.sh
set -eu

RUN=${RUN:-runs/audiocaps/consistency}
NODES=${NODES:-2}
GPUS=${GPUS:-8}
go_on=()
if [ -n "$(find "$RUN" -name '*.ckpt' -print -quit 2>/dev/null)" ]; then
  go_on=(--ckpt_path last)
fi
# A machine that comes back may take 15 minutes (join_timeout); the others wait for it instead of dying of the default
# of one minute. A worker that dies is started again by its agent, up to three times, and with it all others.
# Started again, workers must not read the addresses of those before them (torch 2.13 keeps them otherwise).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec torchrun --nnodes "$NODES" --nproc-per-node "$GPUS" --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$HEAD:29500" --rdzv-id consistency-tta \
  --rdzv-conf join_timeout=900,last_call_timeout=60,read_timeout=900 \
  -m consistency_tta fit --config audiocaps/consistency \
  --config cluster/ddp --config cluster/multi_node \
  --trainer.num_nodes "$NODES" --trainer.devices "$GPUS" --trainer.default_root_dir "$RUN" "${go_on[@]}" "$@"
