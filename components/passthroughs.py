"""What Kubeflow tells a training stage of its own pod; read where a pipeline is compiled.

A module of its own because kfp leaves these names out inside a running stage, which imports ``components.trainjob``.
"""

from kfp import dsl

PASSTHROUGHS = [dsl.TaskConfigPassthrough(field, apply_to_task=True) for field in dsl.TaskConfigField]
"""All there is. The pod has it too, since the stage may train itself."""
