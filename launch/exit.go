package launch

import "fmt"

// Explain says in a few words what the exit code means, as far as anyone can tell from it.
func (e *Exit) Explain() string {
	if e.Reason != "" {
		return fmt.Sprintf("exit code %d: %s", e.Code, e.Reason)
	}
	if why, ok := explanations[e.Code]; ok {
		return fmt.Sprintf("exit code %d: %s", e.Code, why)
	}
	if e.Signal != 0 {
		return fmt.Sprintf("exit code %d: ended by signal %d", e.Code, e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

var explanations = map[int]string{
	0:          "it ended without complaint",
	1:          "a general error, its output says more",
	125:        "the container could not be run",
	126:        "the command is not executable",
	127:        "the command was not found",
	129:        "hung up (SIGHUP), who started it is gone",
	130:        "interrupted (SIGINT)",
	134:        "it aborted itself (SIGABRT)",
	135:        "a memory access that the hardware refused (SIGBUS)",
	136:        "an arithmetic error (SIGFPE)",
	137:        "killed (SIGKILL), often because memory ran out",
	139:        "a memory access that is not allowed (SIGSEGV)",
	141:        "nobody read its output any more (SIGPIPE)",
	143:        "terminated (SIGTERM), as happens when it is stopped from outside",
	247:        "ended because of its memory use",
	0xC000013A: "interrupted (Ctrl-C on Windows)",
}
