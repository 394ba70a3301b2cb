import com.amazonaws.ClientConfiguration;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.s3.AmazonS3;
import com.amazonaws.services.s3.AmazonS3ClientBuilder;

/** The SDK for Java, version 1: lists a bucket for ever, and prints a line for each failure. */
class Caller {
    public static void main(String[] args) throws InterruptedException {
        AmazonS3 s3 = AmazonS3ClientBuilder.standard().withPathStyleAccessEnabled(true)
            .withClientConfiguration(new ClientConfiguration().withMaxErrorRetry(0))
            .withEndpointConfiguration(new EndpointConfiguration(System.getenv("CALLER_S3"), "us-east-1")).build();
        for (;;) {
            try {
                s3.listObjectsV2("demo");
            } catch (RuntimeException e) {
                System.out.println(e.toString().replaceAll("\\s+", " "));
            }
            Thread.sleep(500);
        }
    }
}
