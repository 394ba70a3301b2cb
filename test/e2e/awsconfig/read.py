"""What botocore and the AWS CLI read in AWS configuration files.

read.py FOLDER prints, for each folder in it, as JSON: the settings of its file
config by section, the profiles, and, where the file profile names one, the
access key that a client gets and what the AWS CLI says of it. null is a file
that they refuse.
"""
import contextlib
import io
import json
import os
import sys

for name in [n for n in os.environ if n.startswith("AWS_")]:
    del os.environ[name]  # awscli sets some

import awscli.botocore.configloader
import awscli.clidriver
import botocore.configloader
import botocore.session


def parsed(loader, path):
    if not os.path.exists(path):
        return {"raw": {}, "profiles": {}}
    try:
        loader.load_config(path)
    except Exception:  # whatever it is, a client stops there
        return None
    raw = loader.raw_config_parse(path, parse_subsections=False)
    return {"raw": raw, "profiles": loader.build_profile_map(raw)["profiles"]}


def key(profile=None):
    try:
        found = botocore.session.Session(profile=profile).get_credentials()
        return f"{found.access_key} {found.method}" if found else "none"
    except Exception as e:
        return f"error: {e}"


def aws(*args):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        awscli.clidriver.create_clidriver().main(list(args))
    return out.getvalue().strip()


def read(folder):
    config = os.path.join(folder, "config")
    said = {"boto": parsed(botocore.configloader, config), "cli": parsed(awscli.botocore.configloader, config)}
    try:
        with open(os.path.join(folder, "profile")) as f:
            profile = f.read().strip()
    except FileNotFoundError:
        return said
    os.environ["AWS_CONFIG_FILE"] = config
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.path.join(folder, "credentials")
    said["key"] = key(profile)
    if said["cli"] is not None and not said["key"].startswith("error"):
        said["process"] = aws("configure", "get", "credential_process", "--profile", profile)
        said["list"] = aws("configure", "list", "--profile", profile)
    os.environ.update(AWS_PROFILE=profile, AWS_ACCESS_KEY_ID="AKIAENVIRONMENT", AWS_SECRET_ACCESS_KEY="x")
    said["env"] = key()
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]
    return said


os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
top = sys.argv[1]
json.dump({name: read(os.path.join(top, name)) for name in os.listdir(top)}, sys.stdout)
