package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Setting implements [rotate.Settings].
func (s *Store) Setting(ctx context.Context, name string) ([]byte, int64, error) {
	doing := fmt.Sprintf("reading setting %q", name)
	if s.sealer == nil {
		return nil, 0, explain(ctx, doing, seal.ErrKeyMissing)
	}
	var version int64
	var sealed []byte
	err := s.stmt.setting.QueryRowContext(ctx, name).Scan(&version, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		err = rotate.ErrNotFound
	}
	if err != nil {
		return nil, 0, explain(ctx, doing, err)
	}
	value, err := content.OpenSetting(ctx, s.sealer, name, sealed)
	if err != nil {
		return nil, 0, explain(ctx, doing, err)
	}
	return value, version, nil
}

// SaveSetting implements [rotate.Settings].
func (s *Store) SaveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	v, err := s.saveSetting(ctx, name, value, version)
	if err != nil {
		return 0, explain(ctx, fmt.Sprintf("saving setting %q", name), err)
	}
	return v, nil
}

func (s *Store) saveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	if s.sealer == nil {
		return 0, seal.ErrKeyMissing
	}
	sealed, err := content.SealSetting(ctx, s.sealer, name, value)
	if err != nil {
		return 0, err
	}
	var next int64
	err = s.change.add(ctx, func(ctx context.Context, tx *sql.Tx) error {
		next = 0
		stored, err := storedVersion(ctx, tx, s.stmt.settingVersion, name)
		switch {
		case err != nil:
			return err
		case stored == 0 && value == nil:
			return nil
		case stored != version:
			return rotate.ErrConflict
		case value == nil:
			_, err = tx.StmtContext(ctx, s.stmt.deleteSetting).ExecContext(ctx, name)
			return err
		}
		if next, err = s.nextVersion(ctx, tx); err == nil {
			_, err = tx.StmtContext(ctx, s.stmt.saveSetting).ExecContext(ctx, name, next, sealed)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// SettingNames implements [rotate.Settings]. It does not need the key.
func (s *Store) SettingNames(ctx context.Context, prefix string) ([]string, error) {
	out, err := queryStrings(ctx, s.stmt.settingNames, prefix)
	return out, explain(ctx, "listing settings", err)
}
