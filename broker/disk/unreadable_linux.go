package disk

import "syscall"

// badBlock is what Linux says of a block that cannot be read: the device's word,
// and the file systems' two for a checksum of theirs that does not hold.
var badBlock = []error{syscall.EIO, syscall.EBADMSG, syscall.EUCLEAN}
