package submit

import "io/fs"

// owned: on Windows every user has temporary directories of their own.
func owned(fs.FileInfo) bool { return true }
