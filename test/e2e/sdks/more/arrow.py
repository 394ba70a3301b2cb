"""aws-sdk-cpp, which Arrow brings: lists a bucket for ever, and prints a line for each failure."""
import os
import time

from pyarrow import fs

store = fs.S3FileSystem(
    endpoint_override=os.environ["CALLER_S3"].removeprefix("http://"), scheme="http", region="us-east-1",
    retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1))
while True:
    try:
        store.get_file_info(fs.FileSelector("demo"))
    except Exception as e:  # all that went wrong counts
        print(" ".join(str(e).split()), flush=True)
    time.sleep(0.5)
