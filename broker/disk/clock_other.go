//go:build !linux

package disk

import "time"

func bootID() string { return "" }

func boottime() time.Duration { return sinceStart() }

func synchronized() bool { return false }
