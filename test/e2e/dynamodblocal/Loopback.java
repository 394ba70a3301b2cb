import com.amazonaws.services.dynamodbv2.local.main.ServerRunner;
import com.amazonaws.services.dynamodbv2.local.server.DynamoDBProxyServer;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;

/** DynamoDB Local on the loopback address; by itself it listens on all. */
class Loopback {
	public static void main(String[] args) throws Exception {
		DynamoDBProxyServer local = ServerRunner.createServerFromCommandLineArgs(args);
		var field = DynamoDBProxyServer.class.getDeclaredField("server");
		field.setAccessible(true);
		for (Connector c : ((Server) field.get(local)).getConnectors()) {
			((ServerConnector) c).setHost("127.0.0.1");
		}
		local.start();
		local.join();
	}
}
