# The SDK for Ruby: lists a bucket for ever, and prints a line for each failure.
require "aws-sdk-s3"

$stdout.sync = true
s3 = nil
loop do
  begin
    s3 ||= Aws::S3::Client.new(endpoint: ENV["CALLER_S3"], region: "us-east-1", force_path_style: true, retry_limit: 0)
    s3.list_objects_v2(bucket: "demo")
  rescue StandardError => e
    puts e.message.split.join(" ")
  end
  sleep 0.5
end
