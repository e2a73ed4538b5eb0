#!/bin/bash
# Without a scheduler: the same command on each of the machines, with the first one's name in HEAD.
#   HEAD=node1 NODES=4 docs/cluster/torchrun.sh
# Further options of `fit` may follow. RENDEZVOUS: further settings of torchrun's --rdzv-conf, such as is_host=1 on the first
# machine where it does not know itself by HEAD.
set -u
: "${HEAD:?set it to the name of the first machine}"

RUN=${RUN:-runs/audiocaps/consistency}
CONFIG=${CONFIG:-audiocaps/consistency}
NODES=${NODES:-2}
GPUS=${GPUS:-8}
# A machine that comes back may take so many seconds; the others wait for it instead of dying of the default of 60 s.
# More than 300: so long an agent whose workers are done waits for the other agents.
WAIT=${WAIT:-900}
# Started again, workers must not read the addresses of those before them (torch 2.13 keeps them otherwise).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# At SIGTERM torchrun hands it on, and kills its workers so many seconds later. They save a checkpoint after their step.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-270}
# A worker that ends is started again by its agent, up to RESTARTS times, and with it all others: with these same options.
# Hence `auto`: the newest checkpoint in RUN, if there is one.
set -m  # else bash starts it with SIGINT ignored
torchrun --nnodes "$NODES" --nproc-per-node "$GPUS" --max-restarts "${RESTARTS:-3}" \
  --rdzv-backend c10d --rdzv-endpoint "$HEAD:${PORT:-29500}" --rdzv-id consistency-tta \
  --rdzv-conf "join_timeout=$((WAIT + 60)),read_timeout=$WAIT${RENDEZVOUS:+,$RENDEZVOUS}" \
  -m consistency_tta fit --config "$CONFIG" \
  --config cluster/ddp --config cluster/multi_node \
  --trainer.num_nodes "$NODES" --trainer.devices "$GPUS" --trainer.default_root_dir "$RUN" --ckpt_path auto "$@" &
agent=$!
set +m  # else Ctrl+C would reach `sleep` alone
for name in INT TERM HUP; do trap "kill -$name $agent" $name; done

# Where a machine is lost or a cable stays cut, torch's agent waits for ever, or ends without a word. So this ends it after
# WAIT seconds without a worker, and says why.
workers() {  # those that have not ended, be it that the agent has not noticed
  for child in $(cat "/proc/$agent/task/"*/children 2>/dev/null); do
    grep -qs . "/proc/$child/cmdline" && echo "$child"
  done
}
last=$SECONDS
while sleep 2; kill -0 $agent 2>/dev/null; do
  if [ ! -e "/proc/$agent/task/$agent/children" ] || [ -n "$(workers)" ]; then
    last=$SECONDS
  elif ((SECONDS - last > WAIT)); then
    echo "torchrun.sh on $HOSTNAME: ended, since $NODES machines did not meet at $HEAD within $WAIT s (WAIT). See to the" \
      "machines and the network, then start this on all: it goes on from the newest checkpoint in $RUN" >&2
    kill -KILL $agent
    wait $agent
    exit 1
  fi
done
wait $agent
