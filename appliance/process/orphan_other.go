//go:build !linux

package process

import "syscall"

func notOrphaned() *syscall.SysProcAttr { return nil }
