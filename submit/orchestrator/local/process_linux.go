package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// identify names this process: since when the machine is up, the namespace in which the number
// of the process counts, the number, and when the process started. "" if the system does not
// tell. There are never two processes with the same name.
func identify() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	pid := os.Getpid()
	start, _, err := stat(pid)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %s %d %s", bytes.TrimSpace(boot), namespace, pid, start)
}

// lifeOf says what is known about the process with this name, as seen from the process self.
func lifeOf(process, self string) life {
	theirs, ours := strings.Fields(process), strings.Fields(self)
	if len(theirs) != 4 || len(ours) != 4 || theirs[0] != ours[0] || theirs[1] != ours[1] {
		return lifeUnknown
	}
	pid, err := strconv.Atoi(theirs[2])
	if err != nil || pid <= 0 {
		return lifeUnknown
	}
	// Also where /proc hides the processes of others, the system says whether there is one.
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return lifeEnded
	}
	start, state, err := stat(pid)
	switch {
	case err != nil:
		return lifeUnknown
	case start != theirs[3], state == "Z", state == "X":
		return lifeEnded
	}
	return lifeGoesOn
}

// stat returns when the process started, in ticks since the machine is up, and the letter of
// its state: proc_pid_stat(5).
func stat(pid int) (start, state string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	// The name of the program stands in parentheses, and may hold any character.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const stateField, startField = 0, 19
	if len(fields) <= startField {
		return "", "", errors.New("too few fields")
	}
	return fields[startField], fields[stateField], nil
}
