"""Makes the bucket that BUCKET names in the object store of AWS_ENDPOINT_URL, unless it is there."""

import os

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """Make the bucket."""
    bucket = os.environ["BUCKET"]
    store = boto3.client("s3")
    try:
        store.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        store.create_bucket(Bucket=bucket)
        print(f"made the bucket {bucket}")


if __name__ == "__main__":
    main()
