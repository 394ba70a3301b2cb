"""The Rust crate object_store: lists a bucket for ever, and prints a line for each failure."""
import os
import time

import obstore
from obstore.store import S3Store

store = S3Store(
    "demo", endpoint=os.environ["CALLER_S3"], region="us-east-1", client_options={"allow_http": True},
    virtual_hosted_style_request=False, retry_config={"max_retries": 0})
while True:
    try:
        list(obstore.list(store))
    except Exception as e:  # all that went wrong counts
        print(" ".join(str(e).split()), flush=True)
    time.sleep(0.5)
