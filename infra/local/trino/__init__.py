"""A real Trino for the tests and for exploring: coordinator and worker in one Java process.

| module | purpose |
|---|---|
| `java.py` | find a JDK for it |
| `jars.py` | fetch the jars of Trino, and Spark's jars for Iceberg, with Maven, and check their hashes |
| `server.py` | run one Trino on local AWS, as a child process |
| `__main__.py` | `make trino`, and the installation |

`LakeServer.java` is the server, `pom.xml` names the jars, and `jars.sha256` has the version and the hash of each jar.
Athena's engine is a Trino, so this one uses Athena's name for the Glue catalog. The modules import only the standard
library, so the installation can run before any package is installed.
"""
