package natsd

// backlog tells when the server is about to throw its reader out, from looks at
// how much it keeps for it. It is the reader's own.
//
// From three quarters of the limit on, nats-server slows publishers down. That is
// enough while they are few: the backlog stays there, and nothing is lost. A crowd
// of them can still overtake any reader. Messages that are late can be let go at a
// fraction of the cost and counted one by one, which is better than being thrown
// out, though no guarantee against it.
type backlog struct {
	limit int64 // bytes, beyond which the server throws us out
	read  int64 // bytes since the last look
	late  bool
}

// lookEvery is how much is read between two looks.
const lookEvery = 256 << 10

// due counts what was read, and tells whether it is time for a look.
func (b *backlog) due(read int) bool {
	b.read += int64(read)
	return b.read >= lookEvery
}

// look sets late, given how many bytes the server keeps.
func (b *backlog) look(kept int64) {
	b.late = kept > b.limit/8*7
	b.read = 0
}
