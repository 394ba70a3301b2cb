import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.core.client.config.ClientOverrideConfiguration;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.sts.StsClient;

/** Calls S3 and STS with the SDK's default credentials until it has seen enough keys, or time is up. */
class Caller {
    static final Set<String> KEYS = new HashSet<>();
    static String last = "-";

    static class Note implements ExecutionInterceptor {
        private static final Pattern CREDENTIAL = Pattern.compile("Credential=(\\w+)/");

        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            context.httpRequest().firstMatchingHeader("Authorization").map(CREDENTIAL::matcher)
                .filter(Matcher::find).ifPresent(m -> KEYS.add(last = m.group(1)));
        }
    }

    public static void main(String[] args) throws InterruptedException {
        ClientOverrideConfiguration once = ClientOverrideConfiguration.builder()
            .retryStrategy(AwsRetryStrategy.doNotRetry()).addExecutionInterceptor(new Note()).build();
        S3Client s3 = S3Client.builder().overrideConfiguration(once).build();
        StsClient sts = StsClient.builder().overrideConfiguration(once).build();
        List<Runnable> calls = List.of(() -> s3.listObjectsV2(b -> b.bucket("demo")), () -> sts.getCallerIdentity());
        int made = 0;
        List<String> refused = new ArrayList<>();
        long end = System.nanoTime() + (long) (1e9 * Double.parseDouble(System.getenv("CALLER_SECONDS")));
        int enough = Integer.parseInt(System.getenv("CALLER_KEYS"));
        while (System.nanoTime() < end && KEYS.size() < enough) {
            for (Runnable call : calls) {
                made++;
                try {
                    call.run();
                } catch (RuntimeException e) {
                    refused.add('"' + String.valueOf(System.currentTimeMillis() / 1000.0) + ' ' + last + ' ' + e.toString().replaceAll("[\"\\\\\\p{Cntrl}]", " ") + '"');
                }
            }
            Thread.sleep(250);
        }
        System.out.printf("{\"calls\":%d,\"keys\":%d,\"refused\":[%s]}%n", made, KEYS.size(), String.join(",", refused));
    }
}
