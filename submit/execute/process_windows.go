package execute

import "os"

func (p *process) prepare() {}

// send: Windows has no signal that asks another process to end.
func (p *process) send(os.Signal) { p.cmd.Process.Kill() }

func (p *process) sendStray(os.Signal) {}

func (p *process) clear() {}

func exitOf(s *os.ProcessState) (code int, signal string) { return s.ExitCode(), "" }

// signalCode is what shells report for Ctrl-C.
func signalCode(os.Signal) int { return 130 }

func processCode(s *os.ProcessState) int { return s.ExitCode() }
