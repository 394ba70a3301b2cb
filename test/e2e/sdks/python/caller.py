"""Calls S3 and STS with boto3's default credentials until it has seen enough keys, or time is up."""
import json
import os
import re
import time

import boto3
from botocore.config import Config

keys, last = set(), None


def note(request, **_):
    global last
    last = re.search(r"Credential=(\w+)/", str(request.headers["Authorization"])).group(1)
    keys.add(last)


config = Config(retries={"total_max_attempts": 1})
session = boto3.Session()
s3, sts = session.client("s3", config=config), session.client("sts", config=config)
for client in (s3, sts):
    client.meta.events.register("before-send", note)
calls, refused = 0, []
end = time.monotonic() + float(os.environ["CALLER_SECONDS"])
while time.monotonic() < end and len(keys) < int(os.environ["CALLER_KEYS"]):
    for call in (lambda: s3.list_objects_v2(Bucket="demo"), sts.get_caller_identity):
        calls += 1
        try:
            call()
        except Exception as e:  # all that went wrong counts
            refused.append(f"{time.time():.3f} {last} {type(e).__name__}: {e}")
    time.sleep(0.25)
print(json.dumps({"calls": calls, "keys": len(keys), "refused": refused}))
