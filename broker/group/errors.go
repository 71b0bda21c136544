package group

import "errors"

// What a request may be refused for. Kafka has a code for each.
var (
	ErrInvalidID            = errors.New("a group's id cannot be empty")
	ErrTooLong              = errors.New("an id or a name is too long")
	ErrLoading              = errors.New("the group is being loaded")
	ErrNotAvailable         = errors.New("the group cannot be served now")
	ErrNotHere              = errors.New("another broker coordinates the group")
	ErrUnknownMember        = errors.New("unknown member of the group")
	ErrFenced               = errors.New("another member has this group.instance.id")
	ErrIllegalGeneration    = errors.New("not the group's generation")
	ErrInconsistentProtocol = errors.New("not a protocol that all members of the group support")
	ErrSessionTimeout       = errors.New("session timeout out of range")
	ErrMemberIDRequired     = errors.New("join again with the member id of this answer")
	ErrRebalancing          = errors.New("the group is rebalancing")
	ErrGroupFull            = errors.New("the group has as many members as it may")
	ErrTooMuch              = errors.New("the groups of this broker take as much memory as they may")
	ErrUnknownGroup         = errors.New("unknown group")
	ErrNotEmpty             = errors.New("the group has members")
	ErrSubscribed           = errors.New("the group is subscribed to the topic")
	ErrMetadataTooLarge     = errors.New("the offset's metadata is too long")
	ErrNoZooKeeper          = errors.New("offset requests of version 0 keep offsets in ZooKeeper, and this broker has none; use a client that sends version 1 or later")
)
