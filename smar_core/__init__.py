"""Semantic-enhanced modality-asymmetric retrieval: everything that works without Kubeflow.

Imports run one way: ``pipelines -> components -> smar_core``. Nothing here knows kfp, MLflow or Kubernetes, and nothing
here reads an environment variable: whatever a function needs is an argument.
"""

__version__ = "0.1.0"
