package boot

import (
	"bytes"
	"io"
	"sync/atomic"
)

// console writes lines to the machine's console, which may be slow, or stand still:
// nobody waits for it, and what it does not take is let go.
type console struct {
	lines chan []byte
	lost  atomic.Int64
}

const consoleLines = 512 // that wait

func newConsole() *console { return &console{lines: make(chan []byte, consoleLines)} }

// Write takes lines for run to write. It may be called from any goroutine.
func (c *console) Write(lines []byte) (int, error) {
	select {
	case c.lines <- bytes.Clone(lines):
	default:
		c.lost.Add(1)
	}
	return len(lines), nil
}

// run writes until done is closed, and then what is left.
func (c *console) run(to io.Writer, done <-chan struct{}) {
	for {
		select {
		case lines := <-c.lines:
			to.Write(lines)
		case <-done:
			for {
				select {
				case lines := <-c.lines:
					to.Write(lines)
				default:
					return
				}
			}
		}
	}
}

// maxLine bounds a line of a child's output; what is longer becomes several.
const maxLine = 16 << 10

// byLine hands whole lines on, however they come. It is for one goroutine.
type byLine struct {
	to   io.Writer
	part []byte
}

func (b *byLine) Write(p []byte) (int, error) {
	b.part = append(b.part, p...)
	for {
		end := bytes.IndexByte(b.part, '\n') + 1
		if end == 0 && len(b.part) >= maxLine {
			b.part = append(b.part[:maxLine:maxLine], append([]byte{'\n'}, b.part[maxLine:]...)...)
			end = maxLine + 1
		}
		if end == 0 {
			return len(p), nil
		}
		b.to.Write(b.part[:end])
		b.part = append(b.part[:0], b.part[end:]...)
	}
}
