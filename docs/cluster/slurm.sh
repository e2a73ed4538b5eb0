#!/bin/bash
# Four machines of eight GPUs under SLURM: sbatch docs/cluster/slurm.sh
# Before its time is over, or when it is preempted, the run saves a checkpoint, and the job goes back into the queue.
#SBATCH --job-name=consistency-tta
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -u

requeue() {
  echo "job $SLURM_JOB_ID saves a checkpoint and goes back into the queue"
  training=$(jobs -p)         # empty if the signal came before it was started
  if [ -n "$training" ]; then
    kill -TERM "$training"    # srun hands it on; each run saves sigterm.ckpt after its step and exits with 143
    wait "$training"
  fi
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap requeue USR1 TERM        # USR1: the time is nearly over (--signal); TERM: preemption

RUN=${RUN:-runs/audiocaps/consistency}
CONFIG=${CONFIG:-audiocaps/consistency}
# One task for each GPU; Lightning reads ranks and addresses from SLURM. Job names `bash` and `interactive` would hide them.
# `auto`: the newest whole checkpoint in RUN, if there is one.
srun --kill-on-bad-exit=1 consistency-tta fit --config "$CONFIG" \
  --config cluster/ddp --config cluster/multi_node \
  --trainer.num_nodes "$SLURM_NNODES" --trainer.devices 8 --trainer.default_root_dir "$RUN" --ckpt_path auto "$@" &
wait $!
