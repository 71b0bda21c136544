package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/headwater/headwater/broker/disk"
)

// Limit is a server that does the least with a workload's bytes. It understands
// nothing of a request but its length and its correlation id, and answers with
// the latter.
type Limit string

// The limits.
const (
	Receive  Limit = "receive+checksum"                      // and forget
	Recycled Limit = "receive+checksum+write, recycled file" // over the same pages of the page cache
	Growing  Limit = "receive+checksum+write, growing files" // into new files, as a log's segments, deleted after the pass
	SyncEach Limit = "a sync for each request"               // Growing, and each write is synced before its answer
	SyncTurn Limit = "a sync for each request, in turns"     // SyncEach, one connection after the other
	Sender   Limit = "pread+write sender"                    // answers with as many bytes of a cached file
)

// limitsOf says what each kind is held against; the last is the one that is most
// like it.
var limitsOf = map[Kind][]Limit{
	Produce: {Receive, Recycled, Growing},
	Fetch:   {Sender},
	Commit:  {Receive, SyncTurn, SyncEach},
}

const (
	recycledBytes = 256 << 20 // of a recycled file: more than a processor's cache
	sendStep      = 256 << 10 // of a file, read and written at a time
	maxFrame      = 4 << 20
)

type limitServer struct {
	limit        Limit
	dir          string
	segmentBytes int64
	fetchBytes   int
	mu           sync.Mutex // guards files' names: one connection after the other opens its own
	opened       int

	turn sync.Mutex // held by the one connection of SyncTurn that writes and syncs
}

// newLimitServer writes the files that a limit reads, or writes over.
func newLimitServer(limit Limit, dir string, segmentBytes, fetchBytes int) (*limitServer, error) {
	s := &limitServer{limit: limit, dir: dir, segmentBytes: int64(segmentBytes), fetchBytes: fetchBytes}
	return s, os.MkdirAll(dir, 0o755)
}

func (s *limitServer) serve(ln net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer nc.Close()
			if err := s.serveConn(nc); err != nil {
				fmt.Fprintf(os.Stderr, "bench limit: %v\n", err)
			}
		})
	}
}

// serveConn answers until the client closes.
func (s *limitServer) serveConn(nc net.Conn) error {
	c := &limitConn{limitServer: s, nc: nc, r: bufio.NewReaderSize(nc, 16<<10), w: bufio.NewWriterSize(nc, 16<<10)}
	defer c.drop()
	if s.limit == Sender {
		return c.send()
	}
	for {
		frame, err := c.frame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.take(frame)
		}
		if err != nil {
			return err
		}
	}
}

// limitConn is one connection, with files of its own.
type limitConn struct {
	*limitServer
	nc    net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	buf   []byte
	sum   uint32 // of all checksums, so that none is left out
	file  disk.File
	names []string
	at    int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame reads the next request into the one buffer.
func (c *limitConn) frame() ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(c.r, length[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(length[:]))
	if size < atBody-4 || size > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	if size > cap(c.buf) {
		c.buf = make([]byte, size)
	}
	_, err := io.ReadFull(c.r, c.buf[:size])
	return c.buf[:size], err
}

// take does with a produce request what the limit is for, and answers.
func (c *limitConn) take(frame []byte) error {
	c.sum += crc32.Checksum(frame, castagnoli)
	if c.limit != Receive {
		if err := c.write(frame); err != nil {
			return err
		}
	}
	if acks := binary.BigEndian.Uint16(frame[atAcks-4:]); acks != 0 {
		answer := [8]byte{3: 4}
		copy(answer[4:], frame[atCorrelationID-4:])
		if _, err := c.w.Write(answer[:]); err != nil {
			return err
		}
	}
	if c.r.Buffered() > 0 && !c.syncs() {
		return nil // there is another to answer first
	}
	return c.w.Flush()
}

// syncs reports whether each request is synced before its answer.
func (c *limitConn) syncs() bool { return c.limit == SyncEach || c.limit == SyncTurn }

func (c *limitConn) write(b []byte) error {
	if c.limit == SyncTurn {
		c.turn.Lock()
		defer c.turn.Unlock()
	}
	end := c.segmentBytes
	if c.limit == Recycled {
		end = recycledBytes
	}
	if c.file == nil || c.at+int64(len(b)) > end {
		if err := c.next(); err != nil {
			return err
		}
	}
	if _, err := c.file.WriteAt(b, c.at); err != nil {
		return err
	}
	c.at += int64(len(b))
	if c.syncs() {
		return c.file.Sync()
	}
	return nil
}

// next goes to the next file, or to the beginning of the one that is recycled.
// Recycled files outlive the connection.
func (c *limitConn) next() (err error) {
	c.at = 0
	if c.limit == Recycled && c.file != nil {
		return nil
	}
	if c.file != nil {
		c.file.Close()
	}
	name := filepath.Join(c.dir, "recycled")
	if c.limit != Recycled {
		c.mu.Lock()
		c.opened++
		name = filepath.Join(c.dir, fmt.Sprintf("%d", c.opened))
		c.mu.Unlock()
		c.names = append(c.names, name)
	}
	c.file, err = disk.OS{}.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	return err
}

// drop removes what grew.
func (c *limitConn) drop() {
	if c.file != nil {
		c.file.Close()
	}
	for _, name := range c.names {
		os.Remove(name)
	}
}

// send answers each request with fetchBytes of a file, read and written step by
// step through one buffer, round and round.
func (c *limitConn) send() error {
	file, err := c.cachedFile()
	if err != nil {
		return err
	}
	defer file.Close()
	buf := make([]byte, sendStep)
	for at := int64(0); ; {
		frame, err := c.frame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		head := binary.BigEndian.AppendUint32(nil, uint32(4+c.fetchBytes))
		head = append(head, frame[atCorrelationID-4:][:4]...)
		for left := c.fetchBytes; left > 0; {
			n := copy(buf, head)
			head = nil
			step := min(len(buf)-n, left)
			if at+int64(step) > stored {
				at = 0
			}
			if _, err := file.ReadAt(buf[n:n+step], at); err != nil {
				return err
			}
			if _, err := c.nc.Write(buf[:n+step]); err != nil {
				return err
			}
			at, left = at+int64(step), left-step
		}
	}
}

// cachedFile is the file that Sender reads, as long as what a fetch workload
// stores; the first connection writes it.
func (c *limitConn) cachedFile() (disk.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	file, err := disk.OS{}.OpenFile(filepath.Join(c.dir, "cached"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if size, err := file.Size(); err != nil || size == stored {
		return file, err
	}
	chunk := make([]byte, 1<<20)
	for at := int64(0); at < stored; at += int64(len(chunk)) {
		if _, err := file.WriteAt(chunk, at); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return file, nil
}
