"""What is taken from inside mergekit: where our methods check a configuration and a plan, and keep buffers whole.

Without any of it `mergekit-yaml` could write wrong models, so the methods are not registered then;
`wise-merge merge` merges full checkpoints without mergekit.
"""

from wise_merge.hosts.part import Part

METHODS = (
    Part("mergekit.merge_methods.easy_define:merge_method", takes=("name", "pretty_name", "reference_url", "contract")),
    Part("mergekit.merge_methods.base:InputContract"),
    Part("mergekit.merge_methods.base:TensorGroup.non_base"),
    Part("mergekit.config:MergeConfiguration.referenced_models"),
    Part("mergekit.merge_methods.task_adapter:ExecuteMergeMethodTask.arguments"),
    Part("mergekit.merge_methods.task_adapter:ExecuteMergeMethodTask.execute", takes=("tensors",)),
    Part("mergekit.merge_methods.task_adapter:ExecuteMergeMethodTask.gather_tensors"),
    Part("mergekit.merge_methods.task_adapter:ExecuteMergeMethodTask.method_name"),
    Part("mergekit.merge_methods.task_adapter:ExecuteMergeMethodTask.output_weight"),
    Part("mergekit.io.tasks:GatherTensors.dtype"),
    Part("mergekit.io.tasks:SaveTensor.execute", takes=("writer", "tensor")),
    Part("mergekit.io.tasks:SaveTensor.tensor_task"),
    Part("mergekit.io.tasks:LoaderCache.get"),
    Part("mergekit.common:ModelReference.merged", takes=("cache_dir", "trust_remote_code", "lora_merge_dtype")),
)
#: Asked for when a merge is planned: it imports the registry, that is, us.
PLAN = (
    Part("mergekit.plan:MergePlanner._plan"),
    Part("mergekit.architecture.conversion:convert_checkpoint_tensors"),
)
