import io.trino.plugin.hive.HivePlugin;
import io.trino.plugin.iceberg.IcebergPlugin;
import io.trino.testing.DistributedQueryRunner;
import io.trino.testing.TestingSession;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.Stream;

/**
 * Serves one Trino, coordinator and worker in this process, on the Glue and S3 at AWS_ENDPOINT_URL.
 *
 * <p>Arguments: the port (0 takes a free one), and a folder for its files. The file `url` there holds the server's URL
 * once it answers. When its standard input ends, it removes the folder and ends: it never outlives its parent process.
 */
public final class LakeServer
{
    /** Athena's name for Glue, which stored views contain. */
    private static final String CATALOG = "awsdatacatalog";
    /** The catalog to which the one above redirects reads of Iceberg tables. */
    private static final String ICEBERG = "iceberg";

    private LakeServer() {}

    public static void main(String[] arguments)
            throws Exception
    {
        Path folder = Path.of(arguments[1]);
        Thread.ofPlatform().daemon().start(() -> endWithStandardInput(folder));
        DistributedQueryRunner.Builder<?> builder = DistributedQueryRunner
                .builder(TestingSession.testSessionBuilder().setCatalog(CATALOG).setSchema("default").build())
                .setWorkerCount(0)
                .addCoordinatorProperty("http-server.http.port", arguments[0]);
        DistributedQueryRunner trino = builder.build();
        trino.installPlugin(new HivePlugin());
        trino.installPlugin(new IcebergPlugin());
        trino.createCatalog(CATALOG, "hive", onLocalAws(Map.of(
                "hive.metastore", "glue",
                "hive.iceberg-catalog-name", ICEBERG,
                // Athena also reads the folders below a location.
                "hive.recursive-directories", "true")));
        trino.createCatalog(ICEBERG, "iceberg", onLocalAws(Map.of("iceberg.catalog.type", "glue")));
        publish(trino.getCoordinator().getBaseUrl().toString(), folder.resolve("url"));
        Thread.currentThread().join();
    }

    private static Map<String, String> onLocalAws(Map<String, String> connector)
    {
        Map<String, String> properties = new HashMap<>(connector);
        String endpoint = System.getenv("AWS_ENDPOINT_URL");
        String region = System.getenv("AWS_DEFAULT_REGION");
        String key = System.getenv("AWS_ACCESS_KEY_ID");
        String secret = System.getenv("AWS_SECRET_ACCESS_KEY");
        properties.put("fs.s3.enabled", "true");
        properties.put("s3.endpoint", endpoint);
        properties.put("s3.path-style-access", "true");
        properties.put("s3.region", region);
        properties.put("s3.aws-access-key", key);
        properties.put("s3.aws-secret-key", secret);
        properties.put("hive.metastore.glue.endpoint-url", endpoint);
        properties.put("hive.metastore.glue.region", region);
        properties.put("hive.metastore.glue.aws-access-key", key);
        properties.put("hive.metastore.glue.aws-secret-key", secret);
        return properties;
    }

    /** Writes the file so that a reader finds the whole URL or no file. */
    private static void publish(String url, Path file)
            throws IOException
    {
        Path draft = file.resolveSibling(file.getFileName() + ".draft");
        Files.writeString(draft, url);
        Files.move(draft, file, StandardCopyOption.ATOMIC_MOVE);
    }

    private static void endWithStandardInput(Path folder)
    {
        try {
            while (System.in.read() >= 0) {
                // Its content means nothing.
            }
            remove(folder);
        }
        catch (IOException | UncheckedIOException ignored) {
            // Nobody is left to read an error.
        }
        finally {
            Runtime.getRuntime().halt(0);
        }
    }

    private static void remove(Path folder)
            throws IOException
    {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(file);
            }
        }
    }
}
