package submit

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interrupted returns a context that ends with the first signal that asks the process to end. The
// second one ends the process: a flow may pay no attention.
func interrupted(ctx context.Context) (_ context.Context, stop func()) {
	all := make(chan os.Signal, 2)
	signal.Notify(all, os.Interrupt, syscall.SIGTERM)
	ctx, forget := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	unless := context.AfterFunc(ctx, func() {
		forget()
		signal.Stop(all)
		if len(all) == cap(all) { // the second one came before the first had been forgotten
			<-all
			endBy(<-all)
		}
	})
	return ctx, func() {
		unless()
		forget()
		signal.Stop(all)
	}
}

// endBy ends the process as a signal does that nobody has asked for.
func endBy(s os.Signal) {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(s)
	}
	if err != nil { // where processes get no signals
		os.Exit(1)
	}
}
