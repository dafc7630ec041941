package submit

import (
	"os"
	"time"
)

func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }

// notifyHangup: on Windows nobody tells.
func notifyHangup(chan<- os.Signal) {}

func endGroup(time.Duration) {}
