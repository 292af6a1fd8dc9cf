#!/bin/bash
# A sweep over four machines of a Slurm cluster: one engine per GPU, one Ray cluster for the job.
# Checkpoints, this folder and the results must lie on storage that all machines share. Submit it with
#   sbatch examples/sweeps/slurm.sh
# A job that ran out of time goes on where it was: submit it again.
#SBATCH --job-name=sweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
set -euo pipefail
source .venv/bin/activate               # with wise-merge[ray] in it, seen by all machines

port=6379
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --node-ip-address="$address" --port=$port --block &
sleep 20
srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" --overlap \
    ray start --address="$address:$port" --block &
sleep 20

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    wise-merge sweep examples/sweeps/sweep.yml --out grid --ray "$address:$port"
