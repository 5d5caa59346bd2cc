package assembly

import (
	"errors"

	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// Errors of assembling an LV. Package lvm2 says what they mean to a user.
var (
	ErrUnsupported     = errors.New("unsupported")
	ErrNoContents      = errors.New("no contents of its own")
	ErrLegs            = errors.New("the legs disagree")
	ErrNotActivated    = errors.New("the kernel would not activate it")
	ErrStale           = errors.New("metadata changed on disk")
	ErrInvalidSnapshot = dm.ErrInvalidSnapshot
	ErrMissing         = mapping.ErrMissing
)

// Damaged says whether an error is about metadata that make no sense.
func Damaged(err error) bool {
	for _, damage := range []error{
		metadata.ErrMetadata, pdata.ErrDamaged, dm.ErrThinPool, dm.ErrCache, dm.ErrWritecache, dm.ErrVDO,
		dm.ErrExceptions, dm.ErrIntegrityMetadata, ondisk.ErrFormat,
	} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}
