package submit

import "os"

func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }
