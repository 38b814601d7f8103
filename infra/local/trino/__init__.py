"""A real Trino for the tests, the demo and whoever explores: coordinator and worker in one Java process.

| module | what it is for |
|---|---|
| `java.py` | the JDK that it runs on |
| `jars.py` | the jars of Trino, and those that Spark needs for Iceberg: fetched by Maven, checked by hash |
| `server.py` | one Trino on local AWS, as a child process |
| `__main__.py` | `make trino`, and the installation |

`LakeServer.java` is the server, `pom.xml` says which jars, `jars.sha256` has the version and the hash of each.
Athena's engine is a Trino, and this one reads Glue under the name that Athena gives to it. Nothing here imports
anything but the standard library, so the installation can run before any package is there.
"""
