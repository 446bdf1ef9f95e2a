# Copies a source with bugs in it, each behind a switch of its own:
#   cmake -DINPUT=decide.cpp -DOUTPUT=decide.planted.cpp -DPLANTS=decide.cmake \
#         -P Plant.cmake
# PLANTS calls plant(SEARCH REPLACEMENT); what is searched for must be there
# exactly once, so that no plant withers unnoticed.

file(READ "${INPUT}" text)

function(plant search replacement)
  string(FIND "${text}" "${search}" first)
  string(FIND "${text}" "${search}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "not there exactly once in ${INPUT}; adapt ${PLANTS}:\n${search}")
  endif()
  string(REPLACE "${search}" "${replacement}" text "${text}")
  set(text "${text}" PARENT_SCOPE)
endfunction()

include("${PLANTS}")
file(WRITE "${OUTPUT}" "#include \"tests/simulation/plants.hpp\"\n${text}")
