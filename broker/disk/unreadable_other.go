//go:build !linux

package disk

import "syscall"

// badBlock is what the system says of a block that cannot be read.
var badBlock = []error{syscall.EIO}
