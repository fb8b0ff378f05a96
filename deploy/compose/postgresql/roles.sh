#!/bin/sh
# Runs once, when the database server makes its data folder: one role owns the tables, another runs the service.
set -eu
psql --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
    --set=owner="$(cat /run/secrets/owner_password)" --set=service="$(cat /run/secrets/service_password)" <<'SQL'
CREATE ROLE linkage_owner LOGIN PASSWORD :'owner';
CREATE ROLE linkage_service LOGIN PASSWORD :'service';
CREATE DATABASE linkage OWNER linkage_owner TEMPLATE template0 ENCODING 'UTF8';
SQL
