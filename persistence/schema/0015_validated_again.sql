-- Looks at the rows that were there before the constraints of the last
-- migration, as 0006 does.
DO $$
DECLARE
  x record;
BEGIN
  FOR x IN SELECT conrelid::regclass AS of_table, conname
           FROM pg_constraint
           WHERE NOT convalidated AND contype = 'c'
             AND connamespace = current_schema()::regnamespace
           ORDER BY conrelid::regclass::text, conname
  LOOP
    BEGIN
      EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', x.of_table,
                     x.conname);
    EXCEPTION WHEN check_violation THEN
      RAISE WARNING 'constraint %: a row from before breaks it', x.conname;
    END;
  END LOOP;
END
$$;
