"""An object store for the tests of this folder."""

from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URI of a new bucket of an S3 server on this machine, whose address and keys are in the environment, as on a cluster."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # Arrow keeps a connection for each bucket: a name of its own for each server.
        name = f"shop-{port}"
        boto3.client("s3").create_bucket(Bucket=name)
        yield f"s3://{name}"
    server.stop()
