package update

import "golang.org/x/sys/unix"

// forget has the kernel let go of what it remembers of a file or partition, so that the
// next read asks the card. Where it does not, the check is a weaker one.
func forget(p place) {
	inner := any(p)
	if f, ok := p.(kernelFile); ok {
		inner = f.File
	}
	if f, ok := inner.(interface{ Fd() uintptr }); ok {
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
}
