package execute

import "os"

// PassedOn are the signals that an executor passes on to what it runs, for [Options].
func PassedOn() []os.Signal { return []os.Signal{os.Interrupt} }
