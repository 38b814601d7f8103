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
 * Serves one Trino, coordinator and worker in this process, that reads the Glue and S3 at AWS_ENDPOINT_URL.
 *
 * <p>Arguments: the port (0 takes a free one), and a folder for its files, where `url` is the server's URL once it
 * answers. It ends when its standard input does, and removes the folder: it never outlives the process that started it.
 */
public final class LakeServer
{
    /** The name that Athena gives to Glue, which stored views spell out. */
    private static final String CATALOG = "awsdatacatalog";
    /** Where the catalog above sends the reader of an Iceberg table. */
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
                // Athena reads what lies below a location in folders, too.
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

    /** A reader of the file finds the whole URL or no file. */
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
                // What is written there means nothing.
            }
            remove(folder);
        }
        catch (IOException | UncheckedIOException ignored) {
            // Nobody is left to tell.
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
