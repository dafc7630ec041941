package executor

import (
	"os"
	"time"
)

// notifyHangup: on Windows nobody tells.
func notifyHangup(chan<- os.Signal) {}

func endGroup(time.Duration) {}
