package acme

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// journal remembers every record from before it is made until after it is gone,
// so that a process that was killed leaves nothing behind for ever. It is in the
// storage, an entry to a key; entries of a name are touched only under the lock
// that certmagic takes to obtain that name.
type journal struct {
	storage certmagic.Storage
	log     *slog.Logger
}

const journalPrefix = "dns01-journal"

var entryKey = regexp.MustCompile(`^` + journalPrefix + `/[0-9a-f]{32}$`)

// The deletion of a record goes on when what it was made for has been given up,
// for a shorter time if that is because the process ends.
const (
	cleanupPatience = 90 * time.Second
	lastPatience    = 5 * time.Second
)

func (j journal) key(r *record) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{r.Account, r.Zone, r.Sub, r.Value}, "\n")))
	return journalPrefix + "/" + hex.EncodeToString(sum[:16])
}

func (j journal) write(ctx context.Context, r *record) error {
	entry, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := j.storage.Store(ctx, j.key(r), entry); err != nil {
		return fmt.Errorf("noting a record in the storage: %w", err)
	}
	return nil
}

func (j journal) strike(ctx context.Context, r *record) error {
	return j.storage.Delete(ctx, j.key(r))
}

// entries are the records noted for a name, or all for "". Damaged entries are
// dropped: nothing can be done with them.
func (j journal) entries(ctx context.Context, name string) ([]*record, error) {
	keys, err := j.storage.List(ctx, journalPrefix, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var records []*record
	for _, key := range keys {
		if !entryKey.MatchString(key) {
			continue // a file that is being written
		}
		entry, err := j.storage.Load(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := new(record)
		if err := json.Unmarshal(entry, r); err != nil || j.key(r) != key {
			j.log.Warn("damaged note of a DNS record dropped", "key", key)
			if err := j.storage.Delete(ctx, key); err != nil {
				return nil, err
			}
			continue
		}
		if name == "" || r.Name == name {
			records = append(records, r)
		}
	}
	return records, nil
}

// publish makes a record and publishes it. On an error it takes back what it did,
// as far as that can be done; the journal keeps the rest.
func (j journal) publish(ctx context.Context, account *ovhAccount, r *record) error {
	if err := j.write(ctx, r); err != nil {
		return err
	}
	err := account.create(ctx, r)
	if err == nil || r.Doubtful {
		err = errors.Join(err, j.write(context.WithoutCancel(ctx), r))
	}
	if err == nil {
		err = account.refresh(ctx, r.Zone)
	}
	if err == nil {
		return nil
	}
	if r.ID == 0 && !r.Doubtful {
		return errors.Join(err, j.strike(context.WithoutCancel(ctx), r)) // surely not made
	}
	if undo := j.withdraw(ctx, account, r); undo != nil {
		j.log.WarnContext(ctx, "DNS record left behind for now, it will be deleted later", "name", r.Name, "zone", r.Zone, "error", plain(undo))
	}
	return err
}

// withdraw deletes a record and strikes it out. It goes on when ctx is over.
func (j journal) withdraw(ctx context.Context, account *ovhAccount, r *record) error {
	patience := cleanupPatience
	if ctx.Err() != nil {
		patience = lastPatience
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := account.remove(ctx, r); err != nil {
		return err
	}
	return j.strike(ctx, r)
}
