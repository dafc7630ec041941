package main

// The storage that URLs may name. This is the only file that may import cloud SDK drivers:
// what is not listed here is not linked in.
import (
	"io"
	"log"

	_ "gocloud.dev/blob/azureblob"
	_ "gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	_ "github.com/flowship/flowship/storage/gcs"
)

// quietDrivers keeps what the cloud SDKs log from standard error: they return it as errors, too,
// and their lines show URLs in full.
func quietDrivers() { log.SetOutput(io.Discard) }
