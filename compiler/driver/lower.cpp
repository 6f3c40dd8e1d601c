// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Turns canonical bitcode into one native object per ISA: the passes that all ISAs share are run once, and one process
// does it all, because starting LLVM takes longer than compiling a small file.
//
// usage: popcorn-lower program PLUGIN PASSES LEVEL DIR ISA,... [-S] [-g] [OPTION]...
//        popcorn-lower units PLUGIN PASSES NEVER DIR < LIST
//        popcorn-lower calls < LIST
//
// PASSES is the pipeline for the module as a whole. "program" reads DIR/all.bc and writes DIR/mid.bc, what PASSES made
// of it, and DIR/ISA.o, or with -S DIR/ISA.s; the ISAs are done at the same time. Without -g the sources' lines are for
// messages of PASSES only. OPTIONs are the plugin's; LEVEL is -O's; what the code generation for one ISA says is in
// DIR/ISA.err. The C library's files are "units": NEVER is the plugin's -popcorn-never, and of each line INPUT UNIT KIND
// comes DIR/ISA/UNIT.o, with points of that KIND. The last form prints who calls whom:
//
//   F UNIT NAME local|global loop|- CALLEE...    a function; CALLEE is * for an indirect call
//   A UNIT NAME TARGET                            an alias
//   C NAME                                        what code generation may call by itself

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Analysis/CFG.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/DebugInfo.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Passes/PassPlugin.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/LineIterator.h"
#include "llvm/Support/PrettyStackTrace.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"
#include <csignal>
#include <iostream>
#include <set>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace llvm;

namespace {

struct Isa {
  const char *Name, *Triple, *Cpu, *Features;
};

// What clang-19 takes for these targets, but for linker relaxation on riscv64, which would move code.
const Isa Isas[] = {
    {"x86-64", "x86_64-unknown-linux-musl", "x86-64", "+cx8,+cmov,+fxsr,+mmx,+sse,+sse2,+x87"},
    {"aarch64", "aarch64-unknown-linux-musl", "generic", "+fp-armv8,+neon,+v8a"},
    {"riscv64", "riscv64-unknown-linux-musl", "generic-rv64", "+64bit,+a,+c,+d,+f,+m,+zicsr,+zifencei,-relax"},
};

[[noreturn]] void die(const Twine &What) {
  errs() << "popcorn-lower: " << What << "\n";
  exit(1);
}

std::unique_ptr<Module> read(const std::string &File, LLVMContext &C) {
  SMDiagnostic Diag;
  std::unique_ptr<Module> M = parseIRFile(File, Diag, C);
  if (!M)
    die(File + ": " + Diag.getMessage());
  return M;
}

class Lower {
public:
  Lower(StringRef PluginFile, StringRef Passes, StringRef Level)
      : Plugin(load(PluginFile)), Passes(Passes), Level(Level) {
    for (const Isa &I : Isas) {
      std::string Error;
      const Target *T = TargetRegistry::lookupTarget(I.Triple, Error);
      if (!T)
        die(Error);
      TargetOptions O;
      O.FunctionSections = O.DataSections = O.UniqueSectionNames = O.UseInitArray = true;
      CodeGenOptLevel L = Level == "0" || Level == "1" ? CodeGenOptLevel::Less
                          : Level == "3"               ? CodeGenOptLevel::Aggressive
                                                       : CodeGenOptLevel::Default;
      Machines.emplace_back(T->createTargetMachine(I.Triple, I.Cpu, I.Features, O, Reloc::Static, CodeModel::Small, L));
      if (StringRef(I.Name) == "riscv64")
        Machines.back()->Options.MCOptions.ABIName = "lp64d";
    }
  }

  void program(const std::string &Dir, StringRef Targets, CodeGenFileType Type, bool Debug,
               ArrayRef<std::string> Options) {
    LLVMContext C;
    std::unique_ptr<Module> M = read(Dir + "/all.bc", C);
    StringRef Suffix = Type == CodeGenFileType::ObjectFile ? ".o" : ".s";
    SmallVector<std::pair<pid_t, std::string>> Children;
    bool Failed = false;

    for (StringRef O : Options)
      if (O.consume_front("-popcorn-never="))
        never(O);
    parseOptions(Options);
    keepApart(*M, 3, [](Function &F) { F.addFnAttr("function-inline-cost-multiplier", "3"); });
    run(*M, Passes, Machines[0].get(), false);
    if (!Debug)
      StripDebugInfo(*M);
    write(Dir + "/mid.bc", [&](raw_pwrite_stream &OS) { WriteBitcodeToFile(*M, OS); });
    for (unsigned N = 0; N < std::size(Isas); N++) {
      if (!is_contained(split(Targets, ','), Isas[N].Name))
        continue;
      std::string Said = Dir + "/" + Isas[N].Name + ".err";
      Children.push_back({fork(), Said});
      if (Children.back().first < 0)
        die("fork: " + Twine(strerror(errno)));
      if (!Children.back().first) {
        if (!freopen(Said.c_str(), "w", stderr))
          _exit(1);
        code(*M, N, Dir + "/" + Isas[N].Name + Suffix.str(), Type);
        _exit(0);
      }
    }
    std::pair<int, std::string> Crash;
    for (auto &[Child, Said] : Children) {
      int Status = 0;
      Failed |= waitpid(Child, &Status, 0) < 0 || Status;
      if (WIFSIGNALED(Status))
        Crash = {WTERMSIG(Status), Said};
    }
    if (Crash.first)
      endAs(Crash.first, Crash.second);
    if (Failed)
      exit(2);
  }

  void unit(const std::string &Input, const std::string &Unit, const std::string &Kind, const std::string &NeverFile,
            const std::string &Dir) {
    LLVMContext C;
    std::unique_ptr<Module> M = read(Input, C);
    std::vector<std::string> Options{"-popcorn-unit=" + Unit, "-popcorn-points=" + Kind, "-popcorn-never=" + NeverFile};
    if (Kind == "manual") // no loops that stop: nothing to gain from copies
      Options.push_back("-popcorn-clone-max=0");
    parseOptions(Options);
    keepApart(*M, 1, [](Function &F) { F.addFnAttr(Attribute::NoInline); });
    run(*M, Passes, Machines[0].get(), false);
    for (unsigned N = 0; N < std::size(Isas); N++) {
      Machines[N]->Options.ForceDwarfFrameSection = true; // for backtraces; not loaded, and dropped without -g
      code(*CloneModule(*M), N, Dir + "/" + Isas[N].Name + "/" + Unit + ".o", CodeGenFileType::ObjectFile);
    }
  }

  void never(StringRef File) {
    ErrorOr<std::unique_ptr<MemoryBuffer>> Names = MemoryBuffer::getFile(File);
    if (!Names)
      die(File + ": " + Names.getError().message());
    for (line_iterator Line(**Names); !Line.is_at_eof(); ++Line)
      Never.insert(*Line);
  }

private:
  static PassPlugin load(StringRef File) {
    Expected<PassPlugin> P = PassPlugin::Load(File.str());
    if (!P)
      die(toString(P.takeError()));
    return *P;
  }

  // As a process that was to make one ISA's code has ended, with what it said.
  [[noreturn]] static void endAs(int Signal, const std::string &Said) {
    if (ErrorOr<std::unique_ptr<MemoryBuffer>> Text = MemoryBuffer::getFile(Said))
      errs() << (*Text)->getBuffer();
    signal(Signal, SIG_DFL);
    raise(Signal);
    exit(2);
  }

  // The plugin's options are LLVM's: given anew for each file, as a process of its own would get them.
  static void parseOptions(ArrayRef<std::string> Args) {
    std::vector<const char *> Argv{"popcorn-lower"};
    for (const std::string &A : Args)
      Argv.push_back(A.c_str());
    cl::ResetAllOptionOccurrences();
    cl::ParseCommandLineOptions(Argv.size(), Argv.data());
  }

  // Frames are saved in cold blocks of nothing but stores, which nobody needs in vectors: to weigh that up for each
  // took most of the time that large functions needed.
  static void keepScalar(Module &M) {
    Function *Save = M.getFunction("__popcorn_save");
    if (!Save)
      return;
    for (User *Record : Save->users())
      for (User *U : Record->users()) {
        SmallVector<User *> Stores{U};
        if (isa<GetElementPtrInst>(U))
          Stores.assign(U->user_begin(), U->user_end());
        for (User *S : Stores)
          if (isa<StoreInst>(S))
            cast<StoreInst>(S)->setVolatile(true);
      }
  }

  void code(Module &M, unsigned N, const std::string &Output, CodeGenFileType Type) {
    TargetMachine *TM = Machines[N].get();
    run(M, std::string("popcorn-retarget-") + Isas[N].Name, TM, false);
    keepScalar(M);
    run(M, Level == "0" ? "default<O1>" : "function(simplifycfg)", TM, true);
    write(Output, [&](raw_pwrite_stream &OS) {
      legacy::PassManager PM;
      if (TM->addPassesToEmitFile(PM, OS, nullptr, Type))
        die("no code for " + Twine(Isas[N].Name));
      PM.run(M);
    });
  }

  // Each call under which a thread may move costs code for all that is live there, which is more in a function that
  // others have been inlined into: those with more than Few such calls are to stay by themselves.
  void keepApart(Module &M, unsigned Few, function_ref<void(Function &)> Keep) {
    DenseMap<Function *, unsigned> Sites;
    auto mayMove = [&](const CallBase &CB) {
      if (isa<IntrinsicInst>(CB) || CB.isInlineAsm())
        return false;
      auto *F = dyn_cast<Function>(CB.getCalledOperand()->stripPointerCasts());
      return !F || (F->isDeclaration() ? !Never.contains(F->getName()) : Sites.lookup(F) != 0);
    };
    for (bool Changed = true; Changed;) {
      Changed = false;
      for (Function &F : M) {
        unsigned N = count_if(instructions(F), [&](Instruction &I) {
          auto *CB = dyn_cast<CallBase>(&I);
          return CB && mayMove(*CB);
        });
        Changed |= std::exchange(Sites[&F], N) != N;
      }
    }
    for (auto [F, N] : Sites)
      if (N > Few && !F->hasFnAttribute(Attribute::AlwaysInline) && !Never.contains(F->getName()))
        Keep(*F);
  }

  OptimizationLevel optimization() const {
    return Level == "1"   ? OptimizationLevel::O1
           : Level == "3" ? OptimizationLevel::O3
           : Level == "s" ? OptimizationLevel::Os
           : Level == "z" ? OptimizationLevel::Oz
                          : OptimizationLevel::O2;
  }

  // Vectors are each ISA's own; what the ISAs share is weighed up for x86-64. What was simplified for all is not
  // simplified again: for one ISA come only the late optimizations.
  void run(Module &M, StringRef Pipeline, TargetMachine *TM, bool OneIsa) {
    PipelineTuningOptions Tuning;
    Tuning.LoopVectorization = Tuning.SLPVectorization = OneIsa;
    PassBuilder PB(TM, Tuning);
    LoopAnalysisManager LAM;
    FunctionAnalysisManager FAM;
    CGSCCAnalysisManager CGAM;
    ModuleAnalysisManager MAM;
    Plugin.registerPassBuilderCallbacks(PB);
    PB.registerModuleAnalyses(MAM);
    PB.registerCGSCCAnalyses(CGAM);
    PB.registerFunctionAnalyses(FAM);
    PB.registerLoopAnalyses(LAM);
    PB.crossRegisterProxies(LAM, FAM, CGAM, MAM);
    ModulePassManager MPM;
    if (Error E = PB.parsePassPipeline(MPM, Pipeline))
      die(Pipeline + ": " + toString(std::move(E)));
    if (OneIsa && Level != "0")
      MPM.addPass(PB.buildModuleOptimizationPipeline(optimization(), ThinOrFullLTOPhase::None));
    MPM.run(M, MAM);
  }

  template <typename F> static void write(const std::string &File, F Emit) {
    std::error_code E;
    {
      raw_fd_ostream OS(File + ".part", E);
      if (E)
        die(File + ": " + E.message());
      Emit(OS);
    }
    if ((E = sys::fs::rename(File + ".part", File)))
      die(File + ": " + E.message());
  }

  PassPlugin Plugin;
  StringSet<> Never;
  std::string Passes, Level;
  std::vector<std::unique_ptr<TargetMachine>> Machines;
};

// Whether a function has a loop, which its unoptimized form shows as well as any other.
bool hasLoop(const Function &F) {
  SmallVector<std::pair<const BasicBlock *, const BasicBlock *>> Back;
  FindFunctionBackedges(F, Back);
  return !Back.empty();
}

void printCalls(const std::string &Input, const std::string &Unit) {
  LLVMContext C;
  std::unique_ptr<Module> M = read(Input, C);
  for (const Function &F : *M) {
    if (F.isDeclaration())
      continue;
    std::set<StringRef> Callees;
    for (const Instruction &I : instructions(F)) {
      auto *CB = dyn_cast<CallBase>(&I);
      if (!CB || isa<IntrinsicInst>(CB) || CB->isInlineAsm())
        continue;
      auto *Callee = dyn_cast<GlobalValue>(CB->getCalledOperand()->stripPointerCasts());
      Callees.insert(Callee ? Callee->getName() : "*");
    }
    outs() << "F " << Unit << " " << F.getName() << (F.hasLocalLinkage() ? " local" : " global")
           << (hasLoop(F) ? " loop" : " -");
    for (StringRef Name : Callees)
      outs() << " " << Name;
    outs() << "\n";
  }
  for (const GlobalAlias &A : M->aliases())
    outs() << "A " << Unit << " " << A.getName() << " " << A.getAliasee()->stripPointerCasts()->getName() << "\n";
}

} // namespace

int main(int Argc, char **Argv) {
  SmallVector<std::string> Args(Argv + 1, Argv + Argc);
  StringRef Form = Args.empty() ? "" : StringRef(Args[0]);
  std::unique_ptr<Lower> L;

  sys::PrintStackTraceOnErrorSignal("popcorn-lower");
  EnablePrettyStackTrace();
  setBugReportMsg("");
  if ((Form == "program" && Args.size() >= 6) || (Form == "units" && Args.size() == 5)) {
    InitializeAllTargetInfos();
    InitializeAllTargets();
    InitializeAllTargetMCs();
    InitializeAllAsmPrinters();
    InitializeAllAsmParsers();
    L = std::make_unique<Lower>(Args[1], Args[2], Form == "program" ? Args[3] : "2");
  } else if (Form != "calls" || Args.size() != 1) {
    die("usage: popcorn-lower program PLUGIN PASSES LEVEL DIR ISA,... [-S] [-g] [OPTION]...; "
        "units PLUGIN PASSES NEVER DIR < LIST; calls < LIST");
  }
  if (Form == "program") {
    unsigned Next = 6;
    bool Text = Next < Args.size() && Args[Next] == "-S";
    Next += Text;
    bool Debug = Next < Args.size() && Args[Next] == "-g";
    Next += Debug;
    L->program(Args[4], Args[5], Text ? CodeGenFileType::AssemblyFile : CodeGenFileType::ObjectFile, Debug,
               ArrayRef(Args).drop_front(Next));
    return 0;
  }
  if (Form == "units") {
    L->never(Args[3]);
  } else {
#define HANDLE_LIBCALL(Code, Name)                                                                                     \
  if (const char *N = Name)                                                                                            \
    outs() << "C " << N << "\n";
#include "llvm/IR/RuntimeLibcalls.def"
#undef HANDLE_LIBCALL
  }
  for (std::string Line; std::getline(std::cin, Line);) {
    std::istringstream S(Line);
    std::string Input, Unit, Kind;
    if (!(S >> Input >> Unit) || (L && !(S >> Kind)))
      die("bad line: " + Line);
    if (L)
      L->unit(Input, Unit, Kind, Args[3], Args[4]);
    else
      printCalls(Input, Unit);
  }
}
