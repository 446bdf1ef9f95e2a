# Turns persistence/schema/NNNN_what.sql into a C++ source that defines
# slipway::schema_migrations(). Included, it defines
#
#   slipway_embed_schema(TARGET FOLDER)
#
# which adds the source to TARGET and makes it anew when a file changes. Run as
# a script (cmake -DSCHEMA_DIR=… -DOUTPUT=… -P), it writes the source.

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  file(GLOB files "${SCHEMA_DIR}/*.sql")
  list(SORT files)
  set(entries "")
  foreach(path IN LISTS files)
    get_filename_component(name "${path}" NAME)
    if(NOT name MATCHES "^([0-9][0-9][0-9][0-9])_([a-z0-9_]+)\\.sql$")
      message(FATAL_ERROR "${path}: expected a name like 0001_what.sql")
    endif()
    set(what "${CMAKE_MATCH_2}")
    string(REGEX REPLACE "^0+" "" version "${CMAKE_MATCH_1}")
    if(version STREQUAL "")
      message(FATAL_ERROR "${path}: the numbers start with 0001")
    endif()
    file(READ "${path}" sql)
    string(FIND "${sql}" ")slipway_sql\"" clash)
    if(NOT clash EQUAL -1)
      message(FATAL_ERROR "${path}: must not contain )slipway_sql\"")
    endif()
    string(APPEND entries
           "    {${version}, \"${what}\", R\"slipway_sql(${sql})slipway_sql\"},\n")
  endforeach()
  string(
    CONCAT source
           "// Generated from persistence/schema by cmake/EmbedSchema.cmake.\n"
           "#include \"persistence/migrate.hpp\"\n\n"
           "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n\n"
           "namespace slipway {\n\n"
           "const std::vector<migration>& schema_migrations() {\n"
           "  static const std::vector<migration> all{\n"
           "${entries}"
           "  };\n"
           "  return all;\n"
           "}\n\n"
           "} // namespace slipway\n")
  file(WRITE "${OUTPUT}" "${source}")
  return()
endif()

set(SLIPWAY_EMBED_SCHEMA_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")

function(slipway_embed_schema target folder)
  get_filename_component(folder "${folder}" ABSOLUTE)
  file(GLOB files CONFIGURE_DEPENDS "${folder}/*.sql")
  set(output "${CMAKE_CURRENT_BINARY_DIR}/generated/schema_migrations.cpp")
  # Changes when a file comes or goes, which no time stamp of the others tells.
  set(list "${CMAKE_CURRENT_BINARY_DIR}/generated/schema_files.txt")
  file(CONFIGURE OUTPUT "${list}" CONTENT "${files}\n")
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DSCHEMA_DIR=${folder}" "-DOUTPUT=${output}" -P
            "${SLIPWAY_EMBED_SCHEMA_SCRIPT}"
    DEPENDS ${files} "${list}" "${SLIPWAY_EMBED_SCHEMA_SCRIPT}"
    COMMENT "Embedding the schema"
    VERBATIM)
  target_sources(${target} PRIVATE "${output}")
endfunction()
