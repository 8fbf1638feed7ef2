"""Gives the pipelines a user of their own in MLflow's basic auth, or the password of today to the one they have.

Reads the administrator from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, the server from MLFLOW_TRACKING_URI, and the
user from PIPELINE_USERNAME and PIPELINE_PASSWORD. The user is no administrator: whoever makes an experiment or a model may
change it, and others read it. Left out: waiting for the server, which is up to who starts this (a Job tries again).
"""

import os

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient


def main() -> None:
    """Add the user, or set its password."""
    client = AuthServiceClient(os.environ["MLFLOW_TRACKING_URI"])
    username, password = os.environ["PIPELINE_USERNAME"], os.environ["PIPELINE_PASSWORD"]
    try:
        client.get_user(username)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_user(username, password)
        print(f"added the user {username}")
    else:
        client.update_user_password(username, password)
        print(f"set the password of the user {username}")


if __name__ == "__main__":
    main()
