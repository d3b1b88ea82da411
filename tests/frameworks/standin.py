"""The one stand-in of the Lightning tests: CPUs that pass for GPUs, as DeepSpeedStrategy wants a CUDAAccelerator.

The strategy, the checkpoint connector, ModelCheckpoint and DeepSpeed are what Lightning and DeepSpeed ship.
"""
from lightning.fabric.accelerators import CUDAAccelerator as FabricCUDA
from lightning.pytorch.accelerators import CUDAAccelerator as TrainerCUDA
import torch


class _Cpus:
    """cpu:0 .. cpu:n-1: the strategy checks that a device's index is the local rank."""

    def setup_device(self, device):
        pass

    @staticmethod
    def parse_devices(devices):
        return list(range(int(devices)))

    @staticmethod
    def get_parallel_devices(devices):
        return [torch.device("cpu", index) for index in devices]

    @staticmethod
    def is_available():
        return True


class TrainerCpus(_Cpus, TrainerCUDA):
    pass


class FabricCpus(_Cpus, FabricCUDA):
    pass


def register():
    """From now on accelerator="cuda" means the stand-ins."""
    import lightning.fabric.accelerators as fabric
    import lightning.pytorch.accelerators as trainer

    trainer.AcceleratorRegistry.register("cuda", TrainerCpus, override=True)
    fabric.ACCELERATOR_REGISTRY.register("cuda", FabricCpus, override=True)
