"""aws-crt, beneath aws-sdk-cpp, Swift and others: lists a bucket for ever, and prints a line for each failure."""
import os
import time
import urllib.request

from awscrt import auth, http, io

url = os.environ["CALLER_S3"]
provider = auth.AwsCredentialsProvider.new_default_chain(io.ClientBootstrap.get_or_create_static_default())
while True:
    try:
        request = http.HttpRequest("GET", "/demo?list-type=2", http.HttpHeaders([("Host", url.removeprefix("http://"))]))
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4, signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=provider, region="us-east-1", service="s3", use_double_uri_encode=False,
            signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256)
        signed = auth.aws_sign_request(request, config).result(10)
        urllib.request.urlopen(urllib.request.Request(url + signed.path, headers=dict(signed.headers)), timeout=10).read()
    except Exception as e:  # all that went wrong counts
        print(" ".join(str(e).split()), flush=True)
    time.sleep(0.5)
