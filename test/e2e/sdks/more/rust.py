"""aws-sdk-rust, which Icechunk brings: looks for an object for ever, and prints a line for each failure."""
import os
import time

import icechunk

store = icechunk.s3_storage(
    bucket="demo", prefix="p", region="us-east-1", endpoint_url=os.environ["CALLER_S3"], allow_http=True, from_env=True,
    force_path_style=True)
while True:
    try:
        icechunk.Repository.exists(store)
    except Exception as e:  # all that went wrong counts
        print(" ".join(str(e).split()), flush=True)
    time.sleep(0.5)
