"""What can be learnt of checkpoints from configs and headers: models, adapters, and the runs that left them."""
