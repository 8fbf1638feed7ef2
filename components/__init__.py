"""Kubeflow components: one thin file a stage, which opens artifacts, calls ``smar_core`` and leaves artifacts.

What all stages share is in three modules: ``stage`` (opening, checking, keys, outputs), ``side`` (what whoever started the
pipeline wants to know while it runs) and ``tracking`` (MLflow). A component's body holds imports and one call, because only
its own source travels into the compiled pipeline.
"""
