// The SDK for JavaScript, version 2: lists a bucket for ever, and prints a line for each failure.
const AWS = require(process.env.CALLER_MODULES2 + "/node_modules/aws-sdk");
const s3 = new AWS.S3({ endpoint: process.env.CALLER_S3, region: "us-east-1", s3ForcePathStyle: true, maxRetries: 0 });
(async () => {
  for (;;) {
    try {
      await s3.listObjectsV2({ Bucket: "demo" }).promise();
    } catch (e) {
      console.log(`${e.code}: ${e.message}`.replace(/\s+/g, " "));
    }
    await new Promise((done) => setTimeout(done, 500));
  }
})();
